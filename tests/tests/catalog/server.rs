//! A server with as many databases as a test likes.
//!
//! On purpose not here: what is done with them.

use crate::catalog::Place;
use holdfast_tests::postgres::{Cluster, SUPERUSER, Version};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A server that runs until this is dropped.
pub(crate) struct Server {
    cluster: Mutex<Cluster>,
    port: u16,
    made: AtomicU32,
}

/// One of its databases.
pub(crate) struct Database<'a> {
    server: &'a Server,
    pub(crate) name: String,
}

impl Server {
    pub(crate) async fn start(version: Version) -> Self {
        let cluster = tokio::task::spawn_blocking(move || Cluster::new(version, "max_connections = 100"));
        let cluster = cluster.await.unwrap();
        Self { port: cluster.port, cluster: Mutex::new(cluster), made: AtomicU32::new(0) }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    fn cluster(&self) -> MutexGuard<'_, Cluster> {
        self.cluster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the server itself.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut Cluster) -> T) -> T {
        tokio::task::block_in_place(|| act(&mut self.cluster()))
    }

    /// One more, empty.
    pub(crate) fn database(&self) -> Database<'_> {
        let name = format!("c{}", self.made.fetch_add(1, Ordering::Relaxed));
        self.with(|cluster| cluster.sql(&format!("CREATE DATABASE {name}")));
        Database { server: self, name }
    }

    /// From now on a role comes in with its password only, but for the superuser by the socket.
    pub(crate) fn ask_for_passwords(&self) {
        self.with(|cluster| {
            let rules = "local all all trust\nhost all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n";
            std::fs::write(cluster.data.join("pg_hba.conf"), rules).unwrap();
            cluster.sql("SELECT pg_reload_conf()")
        });
    }
}

impl Database<'_> {
    pub(crate) fn place(&self) -> Place {
        self.on(self.server.port)
    }

    /// The same by another port, where a pooler is.
    pub(crate) fn on(&self, port: u16) -> Place {
        Place::parse(&format!("postgres://{SUPERUSER}@127.0.0.1:{port}/{}", self.name), "").unwrap()
    }

    /// Runs statements in it; what they give.
    pub(crate) fn sql(&self, text: &str) -> String {
        let output = self.server.with(|cluster| cluster.try_sql(&self.name, text));
        assert!(output.status.success(), "{text}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}
