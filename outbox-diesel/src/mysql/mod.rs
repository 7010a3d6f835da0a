//! MySQL and MariaDB.

mod backend;
