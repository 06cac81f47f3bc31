//! The url that a library's name stands for, where a coordinate gives none.

use crate::model::{Lib, RepoUrl};

/// The url that tools.deps infers from a name like `io.github.acme/snow`. `None` if the name is of no known service.
pub fn inferred_url(lib: &Lib) -> Option<RepoUrl> {
    let (group, project) = lib.as_str().split_once('/')?;
    let mut parts = group.split('.');
    let (top, service, owner) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || owner.is_empty() {
        return None;
    }
    let url = match (top, service) {
        ("com" | "io", "github") => ["https://github.com/", owner, "/", project, ".git"].concat(),
        ("com" | "io", "gitlab") => ["https://gitlab.com/", owner, "/", project, ".git"].concat(),
        ("org" | "page", "codeberg") => ["https://codeberg.org/", owner, "/", project, ".git"].concat(),
        ("org" | "io", "bitbucket") => ["https://bitbucket.org/", owner, "/", project, ".git"].concat(),
        ("com" | "io", "beanstalkapp") => ["https://", owner, ".git.beanstalkapp.com/", project, ".git"].concat(),
        ("ht", "sr") => ["https://git.sr.ht/~", owner, "/", project].concat(),
        _ => return None,
    };
    RepoUrl::new(url).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_known_services_stand_for_urls() {
        let url = |lib: &str| inferred_url(&Lib::new(lib).unwrap()).map(String::from);
        let known = [
            ("io.github.acme/snow", "https://github.com/acme/snow.git"),
            ("com.gitlab.acme/b", "https://gitlab.com/acme/b.git"),
            ("org.codeberg.acme/c", "https://codeberg.org/acme/c.git"),
            ("page.codeberg.acme/d", "https://codeberg.org/acme/d.git"),
            ("org.bitbucket.acme/e", "https://bitbucket.org/acme/e.git"),
            ("io.bitbucket.acme/f", "https://bitbucket.org/acme/f.git"),
            ("com.beanstalkapp.acme/h", "https://acme.git.beanstalkapp.com/h.git"),
            ("ht.sr.acme/g", "https://git.sr.ht/~acme/g"),
        ];
        for (lib, expected) in known {
            assert_eq!(url(lib).as_deref(), Some(expected));
        }
        for lib in
            ["com.bitbucket.acme/x", "io.github.acme.sub/i", "io.codeberg.acme/x", "snow", "io.github/x", "acme/x"]
        {
            assert_eq!(url(lib), None, "{lib}");
        }
    }
}
