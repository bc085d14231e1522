"""Does a run fit? Peak bytes of GPUs, hosts and disk, from a model's configuration and the options alone."""
