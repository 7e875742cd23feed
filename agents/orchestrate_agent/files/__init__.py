"""What is pushed to the node: blobs by their hash, site bundles unpacked from them."""
