"""An algorithm as RLlib sees it: configuration and its checks, the training step's frame, checkpoints."""
