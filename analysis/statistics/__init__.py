"""Statistics without a word about language models: arrays in, numbers out."""
