# hello: answers every request with the library's greeting and the commits that it is made of.
use strict;
use warnings;
use IO::Socket::INET;

my ($address, $port, $name) = @ARGV;

sub content {
    my ($path) = @_;
    open my $file, '<', $path or die "$path: $!\n";
    local $/;
    return scalar <$file>;
}

my $greeting = content('.lib/resources/greeting.txt');
$greeting =~ s/\s+\z//;
my ($library) = content('deps.edn') =~ /:git\/sha "([0-9a-f]{40})"/ or die "no sha in deps.edn\n";
my $own = `git rev-parse HEAD`;
my $body = sprintf "%s says: %s (greeting %.10s, hello %.10s)\n", $name, $greeting, $library, $own;

my $server = IO::Socket::INET->new(LocalAddr => $address, LocalPort => $port, Listen => 16, ReuseAddr => 1)
    or die "$address:$port: $@\n";
$SIG{PIPE} = 'IGNORE';
while (my $client = $server->accept) {
    while (my $line = <$client>) {
        last if $line =~ /^\r?\n/;
    }
    print $client "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n",
        'Content-Length: ', length $body, "\r\nConnection: close\r\n\r\n", $body;
    close $client;
}
