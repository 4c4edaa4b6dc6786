"""What goes out to other projects' tools: guides as a dataset (export, card), and TRL's trainer with guides in it (trl)."""
