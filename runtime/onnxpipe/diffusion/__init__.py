"""What turns noise into latents: PyTorch's stream of random numbers, and the schedulers."""
