"""The dashboard, the JSON API and the metrics: served by a proxycore of their own, beside the one that they tell of.

What is shown is made from plain reports, one of each process that serves: so a supervisor shows its workers
as one process shows itself.
"""
