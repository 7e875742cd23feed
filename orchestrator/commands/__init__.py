"""What each command does. Takes parsed arguments, returns an answer; prints nothing to stdout."""
