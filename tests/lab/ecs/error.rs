//! ECS's errors, by the names that its service model gives them.

use serde_json::{Value, json};

/// Why a call was refused. Nothing was changed when this is returned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// The request is understood, and not possible.
    #[error("{0}")]
    Client(String),
    /// A parameter is missing or has a value that is not allowed.
    #[error("{0}")]
    InvalidParameter(String),
    /// No cluster of that name.
    #[error("Cluster not found.")]
    ClusterNotFound,
    /// No service of that name in the cluster.
    #[error("Service not found.")]
    ServiceNotFound,
    /// The service is being deleted, or was.
    #[error("Service was not ACTIVE.")]
    ServiceNotActive,
    /// An attribute's target is not a container instance of the cluster.
    #[error("The specified target was not found: {0}")]
    TargetNotFound(String),
    /// A container instance carries ten custom attributes at most.
    #[error("The container instance {0} has its maximum of 10 custom attributes.")]
    AttributeLimitExceeded(String),
    /// A field has a JSON type that it can't have.
    #[error("{0}")]
    Serialization(String),
    /// The caller's policy doesn't allow it.
    #[error("{0}")]
    AccessDenied(String),
    /// A token bucket of the account is empty.
    #[error("Rate exceeded")]
    Throttling,
    /// ECS itself fails: only ever a fault of a test.
    #[error("Service Unavailable. Please try again later.")]
    Server,
    /// An operation that ECS has and the lab hasn't, or that nobody has.
    #[error("the lab's ECS has no operation {0}")]
    UnknownOperation(String),
}

impl ApiError {
    /// The error's name on the wire.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Client(_) => "ClientException",
            Self::InvalidParameter(_) => "InvalidParameterException",
            Self::ClusterNotFound => "ClusterNotFoundException",
            Self::ServiceNotFound => "ServiceNotFoundException",
            Self::ServiceNotActive => "ServiceNotActiveException",
            Self::TargetNotFound(_) => "TargetNotFoundException",
            Self::AttributeLimitExceeded(_) => "AttributeLimitExceededException",
            Self::Serialization(_) => "SerializationException",
            Self::AccessDenied(_) => "AccessDeniedException",
            Self::Throttling => "ThrottlingException",
            Self::Server => "ServerException",
            Self::UnknownOperation(_) => "UnknownOperationException",
        }
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        if *self == Self::Server { 500 } else { 400 }
    }

    /// The body of the answer.
    pub fn body(&self) -> Value {
        json!({ "__type": self.code(), "message": self.to_string() })
    }
}
