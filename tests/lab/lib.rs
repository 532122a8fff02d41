//! The lab: an ECS cluster of EC2 instances with EFS, on one machine, for the demo and the end-to-end tests.
