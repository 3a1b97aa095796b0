"""How good is it: batched greedy answers, exact match with intervals, suites, before and after."""
