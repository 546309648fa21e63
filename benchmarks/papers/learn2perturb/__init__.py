"""Learn2Perturb and its rivals: tables and figures of the paper, in small."""
