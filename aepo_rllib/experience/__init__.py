"""What travels from sampling to learning: groups of episodes, rows, and how they are dealt."""
