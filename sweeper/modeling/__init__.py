"""What a language model is made of, for planning and for every stage alike."""
