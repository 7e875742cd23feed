"""What is measured of a variant, a folder each: how many trials, on which machine, how read.

``about`` says what a measure tells of itself, ``registry`` lists them. A measure knows no
framework; a runner asks it for its settings and its options, the plan for the number of its trials.
"""
