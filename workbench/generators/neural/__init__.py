"""Neural networks: adversarial, variational, diffusion, autoregressive."""
