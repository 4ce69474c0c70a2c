"""JSQ: joint sparsification and quantization (ICML 2024)."""
