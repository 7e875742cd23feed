"""What the documents are made with; nothing of it is installed."""
