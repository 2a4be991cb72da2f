"""Arrays in, arrays out: k-means, neighbours, greedy covers."""
