use outbox::{Event, Json};
use serde::{Deserialize, Serialize};

/// An image is to be resized. It has no ordering key: jobs are run in any order, many at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resize {
    /// The row of the job.
    pub job: i64,
    /// The file.
    pub image: String,
}

impl Event for Resize {
    const TOPIC: &'static str = "images.resize";
    type Codec = Json;
}
