"""Whether words may stand: reads sentences, holds them against the opinions, and words the opinions itself."""
