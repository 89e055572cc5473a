"""PyTorch training of Mul-TAB: the model, the data pipeline, the trainer."""
