"""What training minimises: functions of logits or probabilities and masks, (B, C, *S)."""
