"""Q, V and S measured (stage `measure`): gradients of slots, the variance that a guide adds, and what follows for the paper's claims."""
