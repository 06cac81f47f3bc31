//! What we ask of providers, checked by Prism against what they publish. `scripts/clouds` installs Prism and runs this;
//! Linode's filter of lists is a header that Prism can't read, which is the one thing that it may complain of.

use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use airplanes::cloud::{Cloud, CloudError, MachineState, Order};
use airplanes::config::ProviderApi;
use airplanes::model::{Provider, Secret};
use airplanes::net::Http;

use super::{BOTH, published, spec};

#[tokio::test(flavor = "multi_thread")]
async fn every_call_is_one_that_the_published_openapi_knows() {
    let Some(prism) = std::env::var_os("AIRPLANES_PRISM") else {
        eprintln!("skipped: this test needs Prism; scripts/clouds installs it and runs this");
        return;
    };
    for provider in BOTH {
        let Some(openapi) = published(provider) else { return };
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
        let out = std::fs::File::create(&log).unwrap();
        let mut command = Command::new(&prism);
        command.args(["mock", "-h", "127.0.0.1", "-p", &port]);
        // Linode's own examples are not what its schema says.
        command.args((provider == Provider::Digitalocean).then_some("--errors")).arg(openapi);
        let mut mock = command.stdin(Stdio::null()).stdout(out.try_clone().unwrap()).stderr(out).spawn().unwrap();
        let read = || std::fs::read_to_string(&log).unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while !read().contains("is listening") {
            assert!(Instant::now() < deadline && mock.try_wait().unwrap().is_none(), "{}", read());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let api = format!("http://127.0.0.1:{port}");
        let access = ProviderApi { api, token: Secret::new("a test", "tok") };
        all_calls(provider, &Cloud::new(provider, access, Http::new().unwrap())).await;
        mock.kill().unwrap();
        mock.wait().unwrap();
        let log = read();
        let wrong = log.lines().filter(|line| line.contains("Violation: request") && !line.contains("x-filter"));
        assert_eq!(wrong.collect::<Vec<_>>(), Vec::<&str>::new(), "{provider}");
        assert!(log.matches("Request received").count() >= 7, "{log}");
    }
}

async fn all_calls(provider: Provider, cloud: &Cloud) {
    let mut spec = spec(provider, "web-3");
    let public = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEWc9RdBo79iO7uO9BRnPkpvlgK8E9320acOdZbrYI9H";
    let key = cloud.register("airplanes", public).await.unwrap();
    assert!(key.parse::<u64>().unwrap() > 0);
    let order = Order {
        spec: spec.clone(),
        tag: "airplanes-1jq3m8x2k4a0c".to_owned(),
        ssh_key: key,
        public_key: public.to_owned(),
        user_data: Secret::new("user data", "#cloud-config\n{}\n"),
    };
    let made = cloud.create(&order).await.unwrap();
    let there = cloud.look(made.id).await.unwrap().unwrap();
    assert!(there.id > 0 && there.address.is_some(), "{there:?}");
    cloud.destroy(made.id).await.unwrap();
    match provider {
        Provider::Linode => {
            assert!(matches!(made.state, MachineState::Running | MachineState::Starting(_)), "{made:?}");
            let lacking = cloud.offer(&spec).await.unwrap_err().to_string();
            assert!(lacking.contains("no Metadata service"), "the example's region has none: {lacking}");
            let unread = cloud.find(&spec, &order.tag).await.unwrap_err();
            assert!(matches!(unread, CloudError::Refused { status: 422, .. }), "{unread}");
        }
        Provider::Digitalocean => {
            assert_eq!((made.state, made.price.is_some()), (MachineState::Starting("new".to_owned()), true));
            spec.region = "nyc3".parse().unwrap();
            assert_eq!(cloud.offer(&spec).await.unwrap().unwrap().monthly, 5.0);
            assert!(cloud.find(&spec, &order.tag).await.unwrap().ours.is_empty(), "the example's tags are others");
        }
    }
}
