"""Which pairs to buy: functions of scores and summaries; the union here is the registry."""
