//! A stand-in for the Amazon ECS agent, which runs in the lab's instances as `ecs.service`. It is a fake.
//!
//! What it imitates of the real one (aws/amazon-ecs-agent 1.105.1), and where that was read:
//! - It registers once and keeps the ARN in its data folder. Started again it registers under the same ARN, and doesn't send custom
//!   attributes then (`ecs-agent/api/ecs/client/ecs_client.go:297`, `agent/app/agent.go:862`).
//! - Introspection on port 51678 of all interfaces, up only after registration (`ecs-agent/introspection/server.go:166`,
//!   `agent/app/agent.go:562`); answers as `ecs-agent/introspection/v1/response.go` has them.
//! - A task is run from its registered revision and nothing else. `host.sourcePath` becomes the bind `source:target[:ro]`, without
//!   a propagation flag (`agent/api/task/task.go:2769`), so that Docker itself makes a missing source.
//! - `dependsOn`, `essential`, `startTimeout`, exit codes, and the order in which containers are created, started and stopped:
//!   [`dependencies`] and [`transitions`] name the lines.
//! - Names, labels, and the reasons of stopped containers (`CannotStartContainerError: ...`). Why a *task* stopped is ECS's to say.
//!
//! What it doesn't: the ACS websocket (it polls the lab's ECS each second), pulling (the lab has no registry), bridge and awsvpc
//! networks (every container has the instance's network), CPU and memory limits, log drivers. It gives no call of
//! Docker a time limit, and removes a task's containers as soon as it has ended. A health check is Docker's, opens HEALTHY
//! gates, and is told to ECS with the containers' states (the real one has a channel of its own for it). Of task metadata there is what
//! [`task_metadata`] has. A container that asks for what would change its behaviour
//! (`links`, `secrets`, a health check without a shell, ...) is stopped with a reason that says so.

pub mod dependencies;
pub mod docker;
pub mod introspection;
pub mod registration;
pub mod rounds;
pub mod task;
pub mod task_metadata;
pub mod transitions;
