"""What a closed-form pass leaves is made smaller: better codes, scales, kept weights and masks."""
