"""Models: training, evaluation, promotion, registry and inference, each a stage that publishes through the ledger."""
