"""What the desk needs of the outside, as protocols: a clock, a venue, a journal. Adapters stand elsewhere.

What they and the ways in use alike to limit how long they wait is here too.
"""
