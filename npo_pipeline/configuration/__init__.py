"""From conf/ and overrides to one resolved configuration per stage: keys, checks, steps. No torch, nothing slow."""
