"""What is minimised: losses, selections, advantages and means, as pure functions on tensors. Torch only."""
