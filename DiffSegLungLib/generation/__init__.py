"""CT drawn from the diffusion model, given a lung mask."""
