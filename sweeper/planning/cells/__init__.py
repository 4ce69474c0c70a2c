"""What a cell is: a model, how it is pruned, how it is quantized."""
