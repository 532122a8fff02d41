//! The first use of a volume: it gets the owner, the mode and the content that the image has at the volume's target, once, as Docker
//! gives them to a volume of its own.
//!
//! The program `volumes-agent-seed` runs as the seeding container of a patched task definition, in the app's own image. The agent
//! shares with it how things lie on the share.
//!
//! | module | decides or touches |
//! |---|---|
//! | [`ownership`] | owners and modes as they are written |
//! | [`order`] | what a seeding container is told to do, and where it finds things |
//! | [`record`] | what a volume's record says |
//! | [`share`] | the share: walks below held descriptors, records written whole, locks |
//! | [`chown`] | owners of what lies there |
//! | [`copy`] | a directory of an image into an empty one on the share |
//! | [`seeding`] | one volume, from its record's word to a filled directory |

pub mod chown;
pub mod copy;
pub mod order;
pub mod ownership;
pub mod record;
pub mod seeding;
pub mod share;
