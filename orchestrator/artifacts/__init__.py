"""The bytes that are pushed, by their SHA-256: model files and benchmark_model binaries.

``store`` keeps model files and their manifest, ``binaries`` the official tool, ``download``
fetches, ``files`` writes so that nothing is ever half there.
"""
