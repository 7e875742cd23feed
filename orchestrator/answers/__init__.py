"""What each command does: it takes its typed arguments and returns an answer; stdout is cli's."""
