//! Taking a compose file's volumes to the cluster: which ECS service each of its services is, what the task definition of that
//! becomes, and how the deployment of it goes.

pub mod assignment;
pub mod databases;
pub mod progress;
pub mod wanted;
