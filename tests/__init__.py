"""The tests, and what they share: made-up mail, a delivery agent, a check for programs."""
