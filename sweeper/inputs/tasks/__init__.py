"""What a task name means, from lm-eval's files, without importing lm-eval."""
