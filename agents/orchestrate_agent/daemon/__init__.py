"""The daemon: it takes trials from its queue one at a time, and answers whoever asks."""
