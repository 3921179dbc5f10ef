"""What the desk needs of the outside, as protocols: a clock, a venue, a journal. Adapters stand elsewhere."""
