//! SeaweedFS, a real S3 server, on loopback: one for each test that wants one, with a bucket.
//!
//! `tests/run.sh` installs the program; `HOLDFAST_WEED` says where it is. A server that cannot be
//! started is a failure, not a skip. On purpose not here: other servers.

use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::{Client, Config};
use holdfast_store_s3::{Address, Keys};
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// What opens the server.
pub const ACCESS: &str = "holdfast";
/// The key to it.
pub const SECRET: &str = "only for tests";
/// The bucket that is there.
pub const BUCKET: &str = "backups";

/// The server listens for requests of its own kind at a port that is so much higher.
const GRPC_DISTANCE: u16 = 10_000;
/// So long it may take to be ready.
const READY: Duration = Duration::from_secs(60);
/// So often it is started if somebody takes its ports.
const STARTS: usize = 5;

/// A server that runs until this is dropped.
#[derive(Debug)]
pub struct Weed {
    child: Child,
    ports: [u16; 4],
    folder: TempDir,
}

impl Weed {
    /// Starts one, and makes its bucket.
    ///
    /// # Panics
    /// It cannot be started.
    #[must_use]
    pub fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("holdfast-weed-").tempdir().expect("a folder");
        let rights = r#"["Admin", "Read", "Write", "List", "Tagging"]"#;
        let identity = format!(
            r#"{{"identities": [{{"name": "tests", "actions": {rights},
                "credentials": [{{"accessKey": "{ACCESS}", "secretKey": "{SECRET}"}}]}}]}}"#
        );
        fs::write(folder.path().join("identities.json"), identity).expect("a file");
        let mut ports = [(); 4].map(|()| free_port());
        let mut weed = Self { child: spawn(folder.path(), ports), ports, folder };
        for _ in 0..STARTS {
            if weed.is_ready() {
                return weed;
            }
            // Somebody may have taken a port meanwhile.
            weed.kill();
            ports = [(); 4].map(|()| free_port());
            (weed.child, weed.ports) = (spawn(weed.folder.path(), ports), ports);
        }
        panic!("the server does not start: {}", weed.log());
    }

    /// Kills it as a power cut would.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again, with what it had.
    ///
    /// # Panics
    /// It does not start.
    pub fn start_again(&mut self) {
        self.child = spawn(self.folder.path(), self.ports);
        assert!(self.is_ready(), "the server does not start again: {}", self.log());
    }

    /// Waits until it takes requests; false if it does not.
    fn is_ready(&mut self) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < READY && self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            if TcpStream::connect(("127.0.0.1", self.ports[3])).is_ok() && self.make_bucket() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        false
    }

    fn log(&self) -> String {
        let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        log.lines().rev().take(20).collect::<Vec<_>>().join("\n")
    }

    /// A client with all rights.
    #[must_use]
    pub fn client(&self) -> Client {
        let config = Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .endpoint_url(self.endpoint())
            .force_path_style(true)
            .credentials_provider(Credentials::new(ACCESS, SECRET, None, None, "tests"))
            .build();
        Client::from_conf(config)
    }

    fn make_bucket(&self) -> bool {
        let client = self.client();
        wait(async {
            let made = client.create_bucket().bucket(BUCKET).send().await.is_ok();
            made || client.list_objects_v2().bucket(BUCKET).max_keys(1).send().await.is_ok()
        })
    }

    /// Begins an upload in parts that nobody will end.
    ///
    /// # Panics
    /// The server does not take it.
    pub fn begin_upload(&self, name: &str) {
        let begun = self.client().create_multipart_upload().bucket(BUCKET).key(name);
        wait(begun.send()).expect("an upload");
    }

    /// The names of what is being uploaded in parts.
    ///
    /// # Panics
    /// The server does not tell.
    #[must_use]
    pub fn uploads(&self) -> Vec<String> {
        let listed = wait(self.client().list_multipart_uploads().bucket(BUCKET).send()).expect("a list");
        listed.uploads.unwrap_or_default().into_iter().filter_map(|upload| upload.key).collect()
    }

    /// The names of the first thousand objects.
    ///
    /// # Panics
    /// The server does not tell.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let listed = wait(self.client().list_objects_v2().bucket(BUCKET).send()).expect("a list");
        listed.contents.unwrap_or_default().into_iter().filter_map(|object| object.key).collect()
    }

    /// An object's content, if it is text.
    ///
    /// # Panics
    /// There is none.
    #[must_use]
    pub fn read(&self, name: &str) -> String {
        let client = self.client();
        let body = wait(async {
            let object = client.get_object().bucket(BUCKET).key(name).send().await.expect("an object");
            object.body.collect().await.expect("a body").into_bytes()
        });
        String::from_utf8_lossy(&body).into_owned()
    }

    /// Changes one byte of an object, in the middle.
    ///
    /// # Panics
    /// There is none, or the server does not take it.
    pub fn damage(&self, name: &str) {
        let client = self.client();
        wait(async {
            let object = client.get_object().bucket(BUCKET).key(name).send().await.expect("an object");
            let mut bytes = object.body.collect().await.expect("a body").to_vec();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            let put = client.put_object().bucket(BUCKET).key(name).body(bytes.into());
            put.send().await.expect("room");
        });
    }

    /// Says that an object lies in another class of storage.
    ///
    /// # Panics
    /// There is none, or the server does not take it.
    pub fn reclass(&self, name: &str, class: &str) {
        let client = self.client();
        wait(async {
            let object = client.get_object().bucket(BUCKET).key(name).send().await.expect("an object");
            let bytes = object.body.collect().await.expect("a body").to_vec();
            let put = client.put_object().bucket(BUCKET).key(name).body(bytes.into());
            put.storage_class(class.into()).send().await.expect("room");
        });
    }

    /// URL of the server.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports[3])
    }

    /// URL of a repository on it.
    #[must_use]
    pub fn url(&self, prefix: &str) -> String {
        format!("s3://{BUCKET}/{prefix}?endpoint={}", self.endpoint())
    }

    /// The same, read.
    ///
    /// # Panics
    /// The prefix is none.
    #[must_use]
    pub fn address(&self, prefix: &str) -> Address {
        Address::parse(&self.url(prefix)).expect("an address")
    }

    /// What opens it.
    #[must_use]
    pub fn keys() -> Keys {
        Keys { access: ACCESS.to_owned(), secret: SECRET.to_owned().into(), token: None }
    }
}

impl Drop for Weed {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Waits for something where no runtime is.
fn wait<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(work)
}

/// Starts the program in a folder.
fn spawn(folder: &Path, ports: [u16; 4]) -> Child {
    let program = std::env::var_os("HOLDFAST_WEED").unwrap_or_else(|| "weed".into());
    let data = folder.join("data");
    fs::create_dir_all(&data).expect("a folder");
    let log = fs::File::create(folder.join("log")).expect("a file");
    let mut command = Command::new(program);
    command.arg("server").arg(format!("-dir={}", data.display())).args([
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-s3",
        // These would take one port for all servers of a machine.
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-volume.max=50",
        "-master.volumeSizeLimitMB=256",
    ]);
    for (name, port) in ["master", "volume", "filer", "s3"].iter().zip(ports) {
        command.arg(format!("-{name}.port={port}"));
    }
    command.arg(format!("-s3.config={}", folder.join("identities.json").display()));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).current_dir(folder);
    command.spawn().expect("the program weed: tests/run.sh installs it, HOLDFAST_WEED says where it is")
}

/// A port that is free, and the one that belongs to it too. Processes with neighbouring numbers
/// look in different places, and none where the system takes ports for connections.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = (std::process::id() % 1200) as u16 * 8;
    loop {
        let port = 10_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 9_600;
        let is_free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if is_free(port) && is_free(port + GRPC_DISTANCE) {
            return port;
        }
    }
}
