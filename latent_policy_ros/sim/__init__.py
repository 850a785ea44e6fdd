"""MuJoCo worlds, the task, the scripted expert, and what they generate."""
