"""``results/<run-id>/`` on disk: the manifest, the journal and the raw logs."""
