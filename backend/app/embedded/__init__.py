"""The one-machine default: real Postgres, Valkey and S3 out of wheels, and the supervision of all processes."""
