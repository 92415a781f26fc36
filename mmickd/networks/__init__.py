"""Reading any model: taps, its classifier layer, a dry run before training, the NaN guard."""
