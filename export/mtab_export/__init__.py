"""From a checkpoint to a bundle: ONNX graphs with proof of parity."""
