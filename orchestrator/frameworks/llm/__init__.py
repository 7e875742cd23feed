"""Language models in GGUF, as llama.cpp runs them."""
