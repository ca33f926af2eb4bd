// Ends of connections over loopback, for tests of RPC servers: who listens and is none, and who
// looks at what goes over a connection.
#pragma once

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "base/descriptor.h"

namespace orthorank::test {

inline sockaddr_in loopback(int port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<uint16_t>(port));
    return address;
}

// On a free port of this machine, until it is destroyed.
class Listener {
 public:
    Listener() : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
        sockaddr_in address = loopback(0);
        auto *plain = reinterpret_cast<sockaddr *>(&address);
        socklen_t size = sizeof(address);
        EXPECT_EQ(::bind(socket_.fd(), plain, size), 0);
        EXPECT_EQ(::listen(socket_.fd(), 1), 0);
        EXPECT_EQ(::getsockname(socket_.fd(), plain, &size), 0);
        endpoint_ = "127.0.0.1:" + std::to_string(ntohs(address.sin_port));
    }
    const std::string &endpoint() const { return endpoint_; }
    // Not open when stop() was called.
    Descriptor accept() const { return Descriptor(::accept(socket_.fd(), nullptr, nullptr)); }
    void stop() const { ::shutdown(socket_.fd(), SHUT_RDWR); }

 private:
    Descriptor socket_;
    std::string endpoint_;
};

inline Descriptor connected_to(const std::string &endpoint) {
    Descriptor socket(::socket(AF_INET, SOCK_STREAM, 0));
    const sockaddr_in address = loopback(std::stoi(endpoint.substr(endpoint.find(':') + 1)));
    EXPECT_EQ(::connect(socket.fd(), reinterpret_cast<const sockaddr *>(&address), sizeof(address)),
              0);
    return socket;
}

// Answers the first that comes with these bytes, one every so many milliseconds or all at once; who
// comes later has a connection and no answer.
class Stranger {
 public:
    explicit Stranger(std::string answer, int pause_ms = 0) {
        thread_ = std::thread([this, answer = std::move(answer), pause_ms] {
            const Descriptor client = listener_.accept();
            char hello[33];
            ::recv(client.fd(), hello, sizeof(hello), MSG_WAITALL);
            const size_t n = pause_ms > 0 ? 1 : std::max<size_t>(1, answer.size());
            for (size_t at = 0; at < answer.size(); at += n) {
                if (::send(client.fd(), answer.data() + at, n, MSG_NOSIGNAL) < 0) {
                    return;
                }
                std::this_thread::sleep_for(std::chrono::milliseconds(pause_ms));
            }
            ::shutdown(client.fd(), SHUT_WR);
            ::recv(client.fd(), hello, 1, 0);
        });
    }
    ~Stranger() {
        listener_.stop();
        thread_.join();
    }
    const std::string &endpoint() const { return listener_.endpoint(); }

 private:
    Listener listener_;
    std::thread thread_;
};

// Between a client and a server, one connection after another: counts them and what goes to the
// server.
class Relay {
 public:
    explicit Relay(std::string server) {
        thread_ = std::thread([this, server = std::move(server)] {
            for (;;) {
                const Descriptor client = listener_.accept();
                if (!client.is_open()) {
                    return;
                }
                ++n_connections_;
                pass(client, connected_to(server));
            }
        });
    }
    ~Relay() {
        listener_.stop();
        thread_.join();
    }
    const std::string &endpoint() const { return listener_.endpoint(); }
    int64_t n_sent() const { return n_sent_; }
    int n_connections() const { return n_connections_; }

 private:
    // Until one of them ends.
    void pass(const Descriptor &client, const Descriptor &server) {
        std::vector<char> part(1 << 20);
        pollfd ends[] = {{client.fd(), POLLIN, 0}, {server.fd(), POLLIN, 0}};
        while (::poll(ends, 2, -1) > 0) {
            for (const bool is_client : {true, false}) {
                if (ends[is_client ? 0 : 1].revents == 0) {
                    continue;
                }
                const int from = is_client ? client.fd() : server.fd();
                const ssize_t n = ::recv(from, part.data(), part.size(), 0);
                if (n <= 0) {
                    return;
                }
                n_sent_ += is_client ? n : 0;
                const std::string_view bytes(part.data(), static_cast<size_t>(n));
                if (write_all(is_client ? server.fd() : client.fd(), bytes) != 0) {
                    return;
                }
            }
        }
    }

    Listener listener_;
    std::atomic<int64_t> n_sent_ = 0;
    std::atomic<int> n_connections_ = 0;
    std::thread thread_;
};

}  // namespace orthorank::test
