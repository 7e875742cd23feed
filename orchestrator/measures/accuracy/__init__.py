"""The measure ``accuracy``: what a variant gets wrong. Pure, numpy and scipy alone."""
